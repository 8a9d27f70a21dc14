from django.urls import path

from notes import views

urlpatterns = [
    path("register", views.Register.as_view()),
    path("login", views.Login.as_view()),
    path("login/2fa", views.LoginWithCode.as_view()),
    path("me", views.Me.as_view()),
    path("me/2fa", views.BeginSecondFactor.as_view()),
    path("me/2fa/confirm", views.ConfirmSecondFactor.as_view()),
    path("notes", views.Notes.as_view()),
    path("admin/users", views.Users.as_view()),
]
